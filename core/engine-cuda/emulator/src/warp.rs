//! Lanes of a warp, and what they do together.

use half::bf16;

use crate::unit::Meeting;

const SYNC: u32 = 0;
const SHUFFLE: u32 = 1;
const BALLOT: u32 = 2;
const MMA_BF16: u32 = 3;
const MMA_TF32: u32 = 4;

/// Sets of lanes are bits.
#[derive(Default)]
pub(crate) struct Warp {
    /// Lanes that have not finished.
    pub(crate) alive: u32,
    pub(crate) ready: u32,
    /// Lanes that wait for others of the warp, with what they bring.
    pub(crate) waiting: u32,
    /// Lanes that have waited for each other by `__syncwarp`, which alone says something of memory; for whoever keeps account of that.
    pub(crate) synchronised: Vec<u32>,
    meetings: [Option<Brought>; 32],
}

/// What a lane brought; the meeting lies on the lane's stack, and is there as long as the lane waits.
#[derive(Clone, Copy)]
struct Brought(*mut Meeting);

impl Brought {
    fn read(&self) -> &Meeting {
        // SAFETY: see the type; only this module writes to it, and keeps no reference then.
        unsafe { &*self.0 }
    }

    fn answer(&self, result: u64) {
        // SAFETY: as above.
        unsafe { (*self.0).result = result };
    }
}

impl Warp {
    pub(crate) fn of(lanes: usize) -> Warp {
        let alive = if lanes >= 32 { u32::MAX } else { (1 << lanes) - 1 };
        Warp { alive, ready: alive, ..Warp::default() }
    }

    /// A lane brings something and waits, unless all others of its mask are there.
    ///
    /// # Errors
    /// Says what is wrong with the meeting.
    pub(crate) fn arrive(&mut self, lane: usize, meeting: *mut Meeting) -> Result<(), String> {
        let brought = Brought(meeting);
        let Meeting { mask, line, .. } = *brought.read();
        if mask >> lane & 1 == 0 {
            return Err(format!("line {line}: lane {lane} is not in the mask {mask:#010x} that it gives"));
        }
        self.ready &= !(1 << lane);
        self.waiting |= 1 << lane;
        self.meetings[lane] = Some(brought);
        self.meet(mask)
    }

    /// A lane is done; others may have waited for that alone.
    pub(crate) fn finish(&mut self, lane: usize) -> Result<(), String> {
        self.ready &= !(1 << lane);
        self.alive &= !(1 << lane);
        for other in lanes(self.waiting) {
            if let Some(brought) = self.meetings[other] {
                self.meet(brought.read().mask)?;
            }
        }
        Ok(())
    }

    /// Lines at which lanes wait, with the masks they gave.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (i32, u32)> {
        lanes(self.waiting).filter_map(|lane| self.meetings[lane]).map(|b| (b.read().line, b.read().mask))
    }

    fn meet(&mut self, mask: u32) -> Result<(), String> {
        let present = mask & self.alive;
        if self.waiting & present != present {
            return Ok(());
        }
        let mut all = [None; 32];
        let mut kind = None;
        for lane in lanes(present) {
            let Some(brought) = self.meetings[lane] else { return Ok(()) };
            let here = brought.read();
            if here.mask != mask {
                return Ok(());
            }
            match kind {
                None => kind = Some((here.kind, here.line)),
                Some((first, line)) if first != here.kind => {
                    return Err(format!(
                        "lanes of a warp do different things together, at lines {line} and {}",
                        here.line
                    ));
                }
                Some(_) => {}
            }
            all[lane] = Some(brought);
        }
        let Some((kind, line)) = kind else { return Ok(()) };
        match kind {
            SYNC => self.synchronised.push(present),
            SHUFFLE => shuffle(&all),
            BALLOT => ballot(&all),
            MMA_BF16 | MMA_TF32 if present != u32::MAX => {
                return Err(format!("line {line}: a matrix product by a warp of which only {present:#010x} are there"));
            }
            MMA_BF16 | MMA_TF32 => {
                let all = all.map(|b| b.unwrap_or(Brought(std::ptr::null_mut())));
                if kind == MMA_BF16 { product(&all, pair) } else { product(&all, single) }
            }
            _ => {}
        }
        self.waiting &= !present;
        self.ready |= present;
        Ok(())
    }
}

/// The lanes of a set.
pub(crate) fn lanes(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(lane)
    })
}

/// A value of a lane that is not there is undefined on a card; here it is a NaN.
fn shuffle(all: &[Option<Brought>; 32]) {
    for brought in all.iter().flatten() {
        let source = all[brought.read().source as usize % 32];
        brought.answer(source.map_or(u64::MAX, |s| s.read().value));
    }
}

fn ballot(all: &[Option<Brought>; 32]) {
    let voted = |lane: usize| all[lane].is_some_and(|b| b.read().value != 0);
    let votes = (0..32).filter(|&lane| voted(lane)).fold(0, |votes, lane| votes | 1 << lane);
    all.iter().flatten().for_each(|b| b.answer(votes));
}

/// `c[16 x 8] += a[16 x 8 words] b[8 words x 8]`, each word being `N` numbers; which lane has what stands in `kernels/tensor.cuh`.
fn product<const N: usize>(all: &[Brought; 32], numbers: fn(u32) -> [f32; N]) {
    let (mut a, mut b) = ([[[0.0f32; N]; 8]; 16], [[[0.0f32; N]; 8]; 8]);
    for (lane, brought) in all.iter().enumerate() {
        let (g, t) = (lane / 4, lane % 4);
        let meeting = brought.read();
        for word in 0..4 {
            // SAFETY: an array of four words on the waiting lane's stack.
            a[g + 8 * (word % 2)][t + 4 * (word / 2)] = numbers(unsafe { *meeting.a.add(word) });
        }
        for word in 0..2 {
            // SAFETY: an array of two words on the waiting lane's stack.
            b[g][t + 4 * word] = numbers(unsafe { *meeting.b.add(word) });
        }
    }
    for (lane, brought) in all.iter().enumerate() {
        let (g, t) = (lane / 4, lane % 4);
        for i in 0..4 {
            let (row, column) = (&a[g + 8 * (i / 2)], &b[2 * t + i % 2]);
            // SAFETY: an array of four floats on the waiting lane's stack, which nobody else refers to.
            let c = unsafe { &mut *brought.read().c.add(i) };
            *c = row.as_flattened().iter().zip(column.as_flattened()).fold(*c, |sum, (a, b)| sum + a * b);
        }
    }
}

fn pair(word: u32) -> [f32; 2] {
    [bf16::from_bits(word as u16).to_f32(), bf16::from_bits((word >> 16) as u16).to_f32()]
}

/// A card reads nothing of the last 13 bits.
fn single(word: u32) -> [f32; 1] {
    [f32::from_bits(word & !0x1fff)]
}
