//! A library of deliberately wrong components, and their sound twins: what only a library can do wrong, it does here. Each says in
//! its summary which property catches it; tests/cli/check.rs holds `fer-host plugin check` to that.

use std::sync::atomic::{AtomicU32, Ordering};

use fer_sdk::prelude::*;

fn cross_entropy(g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
    let log_p = g.log_softmax(batch.logits, -1)?;
    let loss = g.negate(g.reduce_sum(g.multiply(batch.targets, log_p)?, &[1])?)?;
    g.weighted_mean(loss, batch.weights)
}

/// A struct of one option, `level`, and a loss that does something before it builds what is sound.
macro_rules! loss {
    ($name:ident, $id:expr, $by:expr, |$level:ident| $before:expr) => {
        #[derive(Options)]
        struct $name {
            /// What goes wrong goes wrong from 7 on.
            #[option(default = 1, range = 0..=9)]
            level: i64,
        }

        impl Loss for $name {
            const ID: &'static str = $id;
            const SUMMARY: &'static str = $by;
            const LAWS: &'static [Law] =
                &[Law::NonNegative, Law::ShiftInvariant, Law::ClassSymmetric, Law::LeastAtTruth];

            fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
                let $level = self.level;
                $before;
                cross_entropy(g, batch)
            }
        }
    };
}

loss!(Sound, "sound", "", |_level| ());

loss!(Panics, "panics", "building is total", |level| assert!(level < 7, "no level {level}"));

loss!(Aborts, "aborts", "building is total", |level| if level >= 7 {
    std::process::abort();
});

loss!(Hangs, "hangs", "building is total", |level| while level >= 7 {
    std::thread::sleep(std::time::Duration::from_millis(50));
});

loss!(Hoards, "hoards", "building is total", |level| {
    let mut hoard: Vec<Vec<u8>> = vec![];
    while level >= 7 {
        hoard.push(vec![1; 16 << 20]);
        // Slow enough that whoever watches is the first to notice.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
});

loss!(Asks, "asks-too-much", "building is total", |level| if level >= 7 {
    // More than any machine has: the allocator gives up, and the program with it.
    std::hint::black_box(Vec::<u8>::with_capacity(1 << 55));
});

loss!(Overflows, "overflows", "building is total", |level| if level >= 7 {
    std::hint::black_box(deep(u64::MAX));
});

/// Recursion without an end that the compiler may not turn into a loop.
fn deep(n: u64) -> u64 {
    let here = std::hint::black_box([n; 64]);
    if here[(n % 64) as usize] == 0 { 0 } else { deep(n - 1).wrapping_add(here[1]) }
}

#[derive(Options)]
struct Counts {}

impl Loss for Counts {
    const ID: &'static str = "counts";
    const SUMMARY: &'static str = "the same request gives the same answer";

    fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
        static BUILT: AtomicU32 = AtomicU32::new(0);
        let count = f64::from(BUILT.fetch_add(1, Ordering::Relaxed));
        Ok(g.scale(cross_entropy(g, batch)?, 1.0 + count)?)
    }
}

#[derive(Options)]
struct Negative {
    /// Taken from the loss.
    #[option(default = 2.0, range = 0.0..=8.0)]
    margin: f64,
}

impl Loss for Negative {
    const ID: &'static str = "negative";
    const SUMMARY: &'static str = "the loss is not negative";
    const LAWS: &'static [Law] = &[Law::NonNegative];

    fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
        let margin = g.scale(g.mean(batch.weights, &[0])?, self.margin)?;
        Ok(g.subtract(cross_entropy(g, batch)?, margin)?)
    }
}

#[derive(Options)]
struct Larger {
    /// Side of what comes out.
    #[option(default = 8, range = 1..=64)]
    size: usize,
}

impl Resizer for Larger {
    const ID: &'static str = "larger";
    const SUMMARY: &'static str = "gives the size it promises";
    const LAWS: &'static [Law] = &[Law::OutputSize(Size::Square("size"))];

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        Ok(g.resize(images, [self.size + usize::from(self.size > 5); 2])?)
    }
}

#[derive(Options)]
struct Mixes {}

impl Backbone for Mixes {
    const ID: &'static str = "mixes";
    const SUMMARY: &'static str = "a batch gives what its samples give alone";

    fn build(&self, g: &GraphBuilder, images: Value) -> Result<Value> {
        g.dims::<4>(images)?;
        let features = g.mean(images, &[2, 3])?;
        Ok(g.subtract(features, g.broadcast_in_dim(g.mean(features, &[0])?, &g.shape(features), &[1])?)?)
    }
}

#[derive(Options)]
struct Refuses {}

impl Backbone for Refuses {
    const ID: &'static str = "refuses";
    const SUMMARY: &'static str = "";

    fn build(&self, _: &GraphBuilder, _: Value) -> Result<Value> {
        Err(Error::new("nothing suits it").help("look for another one"))
    }
}

export_plugin!(Sound, Panics, Aborts, Hangs, Hoards, Asks, Overflows, Counts, Negative, Larger, Mixes, Refuses);
