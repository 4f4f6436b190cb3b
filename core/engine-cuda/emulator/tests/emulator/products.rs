//! Products are those of plain f64 loops, and what a card's library refuses is refused.

use crate::common::{download, upload};
use fer_cuda_emulator::EmulatedDevice;
use fer_engine_cuda::{
    Element,
    device::{Command, Device, DeviceError, MatMul, Math, Matrix},
};
use half::bf16;

/// Small numbers that have no pattern.
fn some(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + salt * 11) % 101) as f32 / 40.0 - 1.2).collect()
}

fn rounded(numbers: &[f32]) -> Vec<f32> {
    numbers.iter().map(|&x| bf16::from_f32(x).to_f32()).collect()
}

fn upload_bf16(device: &EmulatedDevice, numbers: &[f32]) -> u64 {
    let address = device.allocate(numbers.len() * 2).unwrap();
    let bytes: Vec<u8> = numbers.iter().flat_map(|&x| bf16::from_f32(x).to_bits().to_ne_bytes()).collect();
    device.upload(address, &bytes).unwrap();
    address
}

fn matrix(place: u64, stride: usize) -> Matrix<u64> {
    Matrix { place, offset: 0, element: Element::F32, transposed: false, stride, batch_stride: 0 }
}

fn multiply(device: &EmulatedDevice, product: MatMul<u64>) -> Result<(), DeviceError> {
    device.record(&[], &[Command::MatMul(product)])?.replay()
}

/// 3 x 4 x 5 in one piece, all f32.
fn plain(device: &EmulatedDevice) -> MatMul<u64> {
    let (a, b, c) = (upload(device, &some(12, 1)), upload(device, &some(20, 2)), device.allocate(60).unwrap());
    MatMul {
        m: 3,
        n: 5,
        k: 4,
        batch: 1,
        a: matrix(a, 4),
        b: matrix(b, 5),
        c: matrix(c, 5),
        bias: None,
        row_sums: None,
        math: Math::Exact,
    }
}

/// Every way to stand, with rows and matrices apart and a first element that is not the buffer's.
#[test]
fn all_ways_to_stand() {
    const SIZE: (usize, usize, usize, usize) = (3, 5, 4, 2);
    let (m, n, k, batch) = SIZE;
    for case in 0..4 {
        let (a_transposed, b_transposed) = (case & 1 == 1, case & 2 == 2);
        let device = EmulatedDevice::new();
        let (a, b) = (some(100, 1), some(100, 2));
        let stand = |place, transposed, columns: usize, rows: usize| {
            let stride = if transposed { rows } else { columns } + 2;
            Matrix { place, offset: 12, element: Element::F32, transposed, stride, batch_stride: 45 }
        };
        let pc = device.allocate(400).unwrap();
        let product = MatMul {
            a: stand(upload(&device, &a), a_transposed, k, m),
            b: stand(upload(&device, &b), b_transposed, n, k),
            c: stand(pc, false, n, m),
            batch,
            ..plain(&device)
        };
        let at = |matrix: &Matrix<u64>, data: &[f32], i: usize, row: usize, column: usize| {
            let (row, column) = if matrix.transposed { (column, row) } else { (row, column) };
            f64::from(data[3 + i * 45 + row * matrix.stride + column])
        };
        multiply(&device, product.clone()).unwrap();
        let c = download(&device, pc, 100);
        let mut written = 0;
        for i in 0..batch {
            for row in 0..m {
                for column in 0..n {
                    let sum: f64 =
                        (0..k).map(|p| at(&product.a, &a, i, row, p) * at(&product.b, &b, i, p, column)).sum();
                    let got = at(&product.c, &c, i, row, column);
                    assert!((sum - got).abs() < 1e-5, "case {case}, matrix {i}, {row}, {column}: {got}, not {sum}");
                    written += 1;
                }
            }
        }
        // What lies between rows is as it was: fresh memory, which is a NaN.
        assert_eq!(c.iter().filter(|x| !x.is_nan()).count(), written);
    }
}

#[test]
fn a_bias_is_added_to_each_row() {
    let device = EmulatedDevice::new();
    let bias = some(5, 3);
    let product = plain(&device);
    multiply(&device, product.clone()).unwrap();
    let without = download(&device, product.c.place, 15);
    multiply(&device, MatMul { bias: Some(upload(&device, &bias)), ..product.clone() }).unwrap();
    let with = download(&device, product.c.place, 15);
    for i in 0..15 {
        assert_eq!(with[i], without[i] + bias[i % 5]);
    }
}

#[test]
fn rows_are_summed_as_they_are() {
    let device = EmulatedDevice::new();
    let a = some(12, 5);
    let sums = device.allocate(12).unwrap();
    let mut product = plain(&device);
    // Stands as k rows of m.
    product.a = Matrix { transposed: true, ..matrix(upload(&device, &a), 3) };
    multiply(&device, MatMul { row_sums: Some(sums), math: Math::Tf32, ..product }).unwrap();
    for (i, sum) in download(&device, sums, 3).into_iter().enumerate() {
        let expected: f64 = (0..4).map(|p| f64::from(a[p * 3 + i])).sum();
        assert!((f64::from(sum) - expected).abs() < 1e-6, "{sum}, not {expected}");
    }
}

/// Into f32 nothing is rounded but the factors; into bf16 the result is, once.
#[test]
fn bf16_is_rounded_once() {
    let device = EmulatedDevice::new();
    let (a, b) = (some(12, 1), some(20, 2));
    let exact = MatMul {
        a: matrix(upload(&device, &rounded(&a)), 4),
        b: matrix(upload(&device, &rounded(&b)), 5),
        ..plain(&device)
    };
    multiply(&device, exact.clone()).unwrap();
    let expected = download(&device, exact.c.place, 15);
    let half = |place, stride| Matrix { element: Element::Bf16, ..matrix(place, stride) };
    let (a, b) = (half(upload_bf16(&device, &a), 4), half(upload_bf16(&device, &b), 5));
    let product = MatMul { a, b, ..plain(&device) };
    multiply(&device, product.clone()).unwrap();
    assert_eq!(download(&device, product.c.place, 15), expected);
    let c = device.allocate(30).unwrap();
    multiply(&device, MatMul { c: half(c, 5), ..product }).unwrap();
    let mut bytes = [0; 30];
    device.download(c, &mut bytes).unwrap();
    let got: Vec<f32> = bytes.chunks_exact(2).map(|b| bf16::from_ne_bytes([b[0], b[1]]).to_f32()).collect();
    assert_eq!(got, rounded(&expected));
}

#[test]
fn tf32_keeps_ten_bits() {
    let device = EmulatedDevice::new();
    let one = |x: f32, math| {
        let (a, b, c) = (upload(&device, &[x]), upload(&device, &[1.0]), device.allocate(4).unwrap());
        let product =
            MatMul { m: 1, n: 1, k: 1, a: matrix(a, 1), b: matrix(b, 1), c: matrix(c, 1), math, ..plain(&device) };
        multiply(&device, product).unwrap();
        download(&device, c, 1)[0]
    };
    let fine = 1.0 + 2f32.powi(-12);
    assert_eq!(one(fine, Math::Exact), fine);
    assert_eq!(one(fine, Math::Tf32), 1.0);
    assert_eq!(one(1.0 + 2f32.powi(-10), Math::Tf32), 1.0 + 2f32.powi(-10));
    assert_eq!(one(-1.0 - 3.0 * 2f32.powi(-12), Math::Tf32), -1.0 - 2f32.powi(-10));
    assert!(one(f32::NAN, Math::Tf32).is_nan());
}

#[test]
fn what_the_library_refuses() {
    let device = EmulatedDevice::new();
    let good = plain(&device);
    assert_eq!(multiply(&device, good.clone()), Ok(()));
    let refused = |change: &dyn Fn(&mut MatMul<u64>), why: &str| {
        let mut product = good.clone();
        change(&mut product);
        let error = multiply(&device, product).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(&|p| p.k = 0, "a product of 1 times 3 x 0 x 5");
    refused(&|p| p.b.element = Element::Bf16, "F32 times Bf16 into F32");
    refused(&|p| p.c.element = Element::Bf16, "F32 times F32 into Bf16");
    refused(&|p| (p.a.element, p.b.element) = (Element::I32, Element::I32), "I32 times I32");
    refused(&|p| p.c.transposed = true, "c is transposed");
    refused(&|p| p.a.stride = 3, "rows of a have 4 elements and lie 3 apart");
    refused(&|p| (p.b.transposed, p.b.stride) = (true, 3), "rows of b have 4 elements and lie 3 apart");
    refused(&|p| p.a.offset = 2, "a begins inside an element");
    refused(&|p| (p.batch, p.c.batch_stride) = (2, 14), "the matrices of c have 15 elements and lie 14 apart");
    refused(&|p| (p.batch, p.c.batch_stride, p.bias) = (2, 15, Some(p.a.place)), "with a batch");
    refused(&|p| p.row_sums = Some(p.a.place), "does not stand transposed");
    refused(&|p| (p.bias, p.row_sums) = (Some(p.a.place), Some(p.a.place)), "a bias and row sums");
    refused(&|p| p.bias = Some(p.a.place + 1), "the bias begin");
}

#[test]
fn products_outside_their_memory() {
    for change in [
        |p: &mut MatMul<u64>| p.m = 4,
        |p: &mut MatMul<u64>| p.b.offset = 4,
        |p: &mut MatMul<u64>| p.bias = Some(p.c.place + 44),
        |p: &mut MatMul<u64>| (p.a.place, p.m) = (p.c.place, 1),
    ] {
        let device = EmulatedDevice::new();
        let mut product = plain(&device);
        change(&mut product);
        assert!(multiply(&device, product).is_err());
    }
}
