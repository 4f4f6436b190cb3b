//! Products of matrices by plain loops, and what a card's library would refuse.

use fer_engine_cuda::{
    Element,
    device::{MatMul, Math, Matrix},
};
use half::bf16;

use crate::memory::Memory;

/// Why no library multiplies these.
pub(crate) fn check(product: &MatMul<u64>) -> Result<(), String> {
    let MatMul { m, n, k, batch, a, b, c, bias, row_sums, math } = product;
    if [*m, *n, *k, *batch].contains(&0) {
        return Err(format!("a product of {batch} times {m} x {k} x {n}"));
    }
    let (factors, sum) = (a.element, c.element);
    let known = factors.is_float() && b.element == factors && (sum == factors || sum == Element::F32);
    if !known {
        return Err(format!("{factors:?} times {:?} into {sum:?}", b.element));
    }
    if *math == Math::Tf32 && factors != Element::F32 {
        return Err(format!("tf32 is for f32 factors, not for {factors:?}"));
    }
    if c.transposed {
        return Err("c is transposed".into());
    }
    for (name, matrix, rows, columns) in [("a", a, *m, *k), ("b", b, *k, *n), ("c", c, *m, *n)] {
        let (rows, columns) = if matrix.transposed { (columns, rows) } else { (rows, columns) };
        if matrix.stride < columns {
            return Err(format!("rows of {name} have {columns} elements and lie {} apart", matrix.stride));
        }
        if matrix.offset % matrix.element.bytes() != 0 || !matrix.place.is_multiple_of(matrix.element.bytes() as u64) {
            return Err(format!("{name} begins inside an element"));
        }
        let one = (rows - 1) * matrix.stride + columns;
        if name == "c" && *batch > 1 && matrix.batch_stride < one {
            return Err(format!("the matrices of c have {one} elements and lie {} apart", matrix.batch_stride));
        }
    }
    if *batch > 1 && (bias.is_some() || row_sums.is_some()) {
        return Err("a bias or row sums, with a batch".into());
    }
    if bias.is_some() && row_sums.is_some() {
        return Err("a bias and row sums".into());
    }
    if row_sums.is_some() && !a.transposed {
        return Err("row sums of a matrix that does not stand transposed".into());
    }
    for (name, place) in [("bias", bias), ("row sums", row_sums)] {
        if place.is_some_and(|place| !place.is_multiple_of(sum.bytes() as u64)) {
            return Err(format!("the {name} begin inside an element"));
        }
    }
    Ok(())
}

/// Multiplies what [`check`] let pass.
pub(crate) fn run(product: &MatMul<u64>, memory: &Memory) -> Result<(), String> {
    let &MatMul { m, n, k, batch, bias, row_sums, math, .. } = product;
    let (a, b) = (Read::new(&product.a, m, k, batch, memory)?, Read::new(&product.b, k, n, batch, memory)?);
    let element = product.c.element;
    let (start, bytes) = extent(&product.c, m, n, batch);
    let c = memory.place(start, bytes)?;
    for (name, factor) in [("a", &a), ("b", &b)] {
        if start < factor.start + factor.bytes as u64 && factor.start < start + bytes as u64 {
            return Err(format!("c lies on {name}"));
        }
    }
    let bias = match bias {
        Some(place) => Some(numbers(memory.place(place, n * element.bytes())?, element, n)),
        None => None,
    };
    let sums = match row_sums {
        Some(place) => Some(memory.place(place, m * element.bytes())?),
        None => None,
    };
    let factor = |x: f32| if math == Math::Tf32 { tf32(x) } else { x };
    let mut row = vec![0.0f32; n];
    for i in 0..batch {
        let b: Vec<f32> = (0..k * n).map(|j| factor(b.get(i, j / n, j % n))).collect();
        for r in 0..m {
            row.fill(0.0);
            for (p, b) in b.chunks_exact(n).enumerate() {
                let x = factor(a.get(i, r, p));
                row.iter_mut().zip(b).for_each(|(sum, &y)| *sum += x * y);
            }
            for (j, &sum) in row.iter().enumerate() {
                let sum = sum + bias.as_ref().map_or(0.0, |bias| bias[j]);
                // SAFETY: inside what `extent` says, which `place` found.
                unsafe { write(c, element, i * product.c.batch_stride + r * product.c.stride + j, sum) };
            }
            if let Some(sums) = sums {
                let sum = (0..k).fold(0.0, |sum, p| sum + a.get(i, r, p));
                // SAFETY: one of m elements, which `place` found.
                unsafe { write(sums, element, r, sum) };
            }
        }
    }
    Ok(())
}

/// The address of the first element, and the bytes up to the last.
fn extent(matrix: &Matrix<u64>, rows: usize, columns: usize, batch: usize) -> (u64, usize) {
    let (rows, columns) = if matrix.transposed { (columns, rows) } else { (rows, columns) };
    let elements = (batch - 1) * matrix.batch_stride + (rows - 1) * matrix.stride + columns;
    (matrix.place + matrix.offset as u64, elements * matrix.element.bytes())
}

/// A factor.
struct Read<'a> {
    matrix: &'a Matrix<u64>,
    data: *const u8,
    start: u64,
    bytes: usize,
}

impl Read<'_> {
    fn new<'a>(
        matrix: &'a Matrix<u64>,
        rows: usize,
        columns: usize,
        batch: usize,
        memory: &Memory,
    ) -> Result<Read<'a>, String> {
        let (start, bytes) = extent(matrix, rows, columns, batch);
        let data = memory.place(start, bytes)?;
        Ok(Read { matrix, data, start, bytes })
    }

    fn get(&self, matrix: usize, row: usize, column: usize) -> f32 {
        let (row, column) = if self.matrix.transposed { (column, row) } else { (row, column) };
        let i = matrix * self.matrix.batch_stride + row * self.matrix.stride + column;
        // SAFETY: inside what `extent` says, which `place` found.
        unsafe { read(self.data, self.matrix.element, i) }
    }
}

fn numbers(data: *const u8, element: Element, count: usize) -> Vec<f32> {
    // SAFETY: the caller found `count` elements there.
    (0..count).map(|i| unsafe { read(data, element, i) }).collect()
}

/// # Safety
/// There is an element `i`, and the data is aligned for elements.
unsafe fn read(data: *const u8, element: Element, i: usize) -> f32 {
    // SAFETY: see above.
    unsafe {
        match element {
            Element::Bf16 => bf16::from_bits(data.cast::<u16>().add(i).read()).to_f32(),
            _ => data.cast::<f32>().add(i).read(),
        }
    }
}

/// # Safety
/// As for [`read`], and nobody else refers to the element.
unsafe fn write(data: *mut u8, element: Element, i: usize, x: f32) {
    // SAFETY: see above.
    unsafe {
        match element {
            Element::Bf16 => data.cast::<u16>().add(i).write(bf16::from_f32(x).to_bits()),
            _ => data.cast::<f32>().add(i).write(x),
        }
    }
}

/// Ten bits of mantissa, to the nearest, ties away from zero.
pub fn tf32(x: f32) -> f32 {
    if x.is_finite() { f32::from_bits((x.to_bits() + 0x1000) & !0x1fff) } else { x }
}
