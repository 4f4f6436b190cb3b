//! A product of matrices by columns, as cublasLt defines it: `d = op(a) op(b)`, with a bias for each row of d, or the sums of `op(b)` over
//! k for each of its columns.

use fer_cuda_emulator::EmulatedDevice;
use fer_engine_cuda::device::{Address, Device, Result};
use half::bf16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Layout {
    pub(crate) bf16: bool,
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    /// Elements from one column to the next, and from one matrix to the next.
    pub(crate) leading: i64,
    pub(crate) batch: i32,
    pub(crate) stride: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Epilogue {
    #[default]
    None,
    Bias,
    /// Sums of b.
    Sums,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Descriptor {
    pub(crate) tf32: bool,
    pub(crate) transposed: [bool; 2],
    pub(crate) epilogue: Epilogue,
    pub(crate) bias_bf16: bool,
    pub(crate) bias: Address,
}

impl Layout {
    fn bytes(self) -> usize {
        if self.bf16 { 2 } else { 4 }
    }

    fn extent(self) -> usize {
        let one = (self.columns - 1) * self.leading as u64 + self.rows;
        ((self.batch - 1) as u64 * self.stride as u64 + one) as usize
    }

    /// Why it is no layout.
    pub(crate) fn wrong(self) -> bool {
        self.rows == 0 || self.columns == 0 || self.batch < 1 || self.leading < self.rows as i64 || self.stride < 0
    }

    /// Rows and columns of the matrix that the product takes.
    pub(crate) fn turned(self, transposed: bool) -> (u64, u64) {
        if transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }
}

/// All that a product needs.
pub(crate) struct Product {
    pub(crate) descriptor: Descriptor,
    /// a, b and d, and where they begin.
    pub(crate) layouts: [Layout; 3],
    pub(crate) places: [Address; 3],
    pub(crate) alpha: f32,
    pub(crate) workspace: (Address, usize),
}

impl Product {
    pub(crate) fn run(&self, device: &EmulatedDevice) -> Result<()> {
        let [la, lb, ld] = self.layouts;
        let (a, b) = (read(device, self.places[0], la)?, read(device, self.places[1], lb)?);
        // What a library does with its workspace is its own affair.
        device.upload(self.workspace.0, &vec![0xff; self.workspace.1])?;
        let Descriptor { tf32, transposed, epilogue, bias_bf16, bias } = self.descriptor;
        let factor = |x: f32| if tf32 { fer_cuda_emulator::tf32(x) } else { x };
        let at = |numbers: &[f32], layout: Layout, turned: bool, batch: u64, row: u64, column: u64| {
            let (row, column) = if turned { (column, row) } else { (row, column) };
            numbers[(batch * layout.stride as u64 + column * layout.leading as u64 + row) as usize]
        };
        let vector =
            Layout { bf16: bias_bf16, rows: ld.rows, columns: 1, leading: ld.rows as i64, batch: 1, stride: 0 };
        let added = if epilogue == Epilogue::Bias { read(device, bias, vector)? } else { vec![0.0; ld.rows as usize] };
        let (_, k) = la.turned(transposed[0]);
        for batch in 0..ld.batch as u64 {
            for column in 0..ld.columns {
                let right: Vec<f32> = (0..k).map(|l| at(&b, lb, transposed[1], batch, l, column)).collect();
                let of = |row: u64| {
                    let terms = right.iter().enumerate();
                    let sum: f32 =
                        terms.map(|(l, y)| factor(at(&a, la, transposed[0], batch, row, l as u64)) * factor(*y)).sum();
                    self.alpha * sum + added[row as usize]
                };
                let numbers: Vec<f32> = (0..ld.rows).map(of).collect();
                let offset = batch * ld.stride as u64 + column * ld.leading as u64;
                device.upload(self.places[2] + offset * ld.bytes() as u64, &bytes(&numbers, ld.bf16))?;
                if epilogue == Epilogue::Sums {
                    let sum = [right.iter().sum::<f32>()];
                    device.upload(bias + column * vector.bytes() as u64, &bytes(&sum, bias_bf16))?;
                }
            }
        }
        Ok(())
    }
}

fn read(device: &EmulatedDevice, place: Address, layout: Layout) -> Result<Vec<f32>> {
    let mut bytes = vec![0; layout.extent() * layout.bytes()];
    device.download(place, &mut bytes)?;
    Ok(match layout.bf16 {
        true => bytes.chunks_exact(2).map(|b| bf16::from_ne_bytes([b[0], b[1]]).to_f32()).collect(),
        false => bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect(),
    })
}

fn bytes(numbers: &[f32], as_bf16: bool) -> Vec<u8> {
    match as_bf16 {
        true => numbers.iter().flat_map(|&x| bf16::from_f32(x).to_ne_bytes()).collect(),
        false => numbers.iter().flat_map(|x| x.to_ne_bytes()).collect(),
    }
}
