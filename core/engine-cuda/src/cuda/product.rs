//! Products of matrices by cublasLt: a plan for each shape, made once.

use std::{
    collections::HashMap,
    ffi::{c_int, c_void},
    ptr,
    sync::Arc,
};

use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtEpilogue_t as LtEpilogue, cublasLtReductionScheme_t as Scheme,
    cudaDataType_t as DataType,
};

use super::{
    driver::{Context, Stream},
    layout::{Columns, Epilogue, Shape, by_columns, described},
    lt::{Algorithm, CublasLt, DescriptorSetting, LayoutSetting, Owned, PreferenceSetting, Proposal},
};
use crate::{
    Element,
    device::{Address, DeviceError, MatMul, Math, Result},
};

/// Memory that products may work in: what NVIDIA advises for Hopper, and more than older cards need. One is enough, because products
/// run one after the other.
const WORKSPACE: usize = 32 << 20;

/// How a shape is computed.
#[derive(Debug)]
struct Plan {
    descriptor: Owned,
    x: Owned,
    y: Owned,
    d: Owned,
    algorithm: Algorithm,
    workspace: usize,
}

/// cublasLt on a device.
#[derive(Debug)]
pub(super) struct Products {
    plans: HashMap<Shape, Plan>,
    handle: Owned,
    lt: Arc<CublasLt>,
    workspace: Address,
    context: Arc<Context>,
}

impl Products {
    /// The context is the thread's.
    pub fn new(lt: Arc<CublasLt>, context: &Arc<Context>) -> Result<Products> {
        let handle = lt.open()?;
        let workspace = context.allocate(WORKSPACE)?;
        Ok(Products { plans: HashMap::new(), handle, lt, workspace, context: context.clone() })
    }

    /// Finds out how a product is computed, unless that is known.
    pub fn plan(&mut self, product: &MatMul<Address>) -> Result<()> {
        let (shape, _) = by_columns(product)?;
        if !self.plans.contains_key(&shape) {
            let plan = self.planned(&shape, product)?;
            self.plans.insert(shape, plan);
        }
        Ok(())
    }

    fn planned(&self, shape: &Shape, product: &MatMul<Address>) -> Result<Plan> {
        let lt = &*self.lt;
        let descriptor = descriptor(lt, shape)?;
        let [x, y, d] = [&shape.x, &shape.y, &shape.d].map(|columns| layout(lt, columns, shape.batch));
        let (x, y, d) = (x?, y?, d?);
        let proposal = self.propose(shape, &descriptor, [&x, &y, &d], product)?;
        Ok(Plan { descriptor, x, y, d, algorithm: proposal.algorithm, workspace: proposal.workspace })
    }

    /// The algorithm that the library thinks fastest.
    fn propose(
        &self,
        shape: &Shape,
        descriptor: &Owned,
        [x, y, d]: [&Owned; 3],
        product: &MatMul<Address>,
    ) -> Result<Proposal> {
        let lt = &*self.lt;
        let preference = preference(lt, shape)?;
        let mut proposal = std::mem::MaybeUninit::<Proposal>::zeroed();
        let mut count = 0;
        let (x, y, d) = (x.raw(), y.raw(), d.raw());
        // SAFETY: all handles live; the library writes at most one proposal.
        let answer = unsafe {
            let (handle, descriptor, preference) = (self.handle.raw(), descriptor.raw(), preference.raw());
            let to = proposal.as_mut_ptr();
            (lt.heuristic)(handle, descriptor, x, y, d, d, preference, 1, to, &mut count)
        };
        // SAFETY: every field is a number, for which zero will do.
        let proposal = unsafe { proposal.assume_init() };
        let refused = |error: DeviceError| match error {
            DeviceError::Failed { what, why } => {
                DeviceError::Failed { what, why: format!("{why}: it has no algorithm for {shape}") }
            }
            other => other,
        };
        let nothing = DeviceError::Failed { what: described(product), why: "cublasLt proposes nothing".to_owned() };
        lt.check(&described(product), answer).map_err(refused)?;
        if count == 0 {
            return Err(refused(nothing));
        }
        lt.check(&described(product), proposal.state).map_err(refused)?;
        Ok(proposal)
    }

    /// Asks for a product whose plan was made.
    pub fn multiply(&mut self, stream: &Stream, product: &MatMul<Address>) -> Result<()> {
        let (shape, places) = by_columns(product)?;
        let Some(plan) = self.plans.get(&shape) else {
            return Err(DeviceError::Failed { what: described(product), why: "it was not planned".to_owned() });
        };
        let lt = &*self.lt;
        if let Some(vector) = places.vector {
            // The library reads the pointer when it is asked for the product.
            lt.set_descriptor(&plan.descriptor, DescriptorSetting::CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector)?;
        }
        let (one, zero) = (1.0f32, 0.0f32);
        let number = |number: &f32| ptr::from_ref(number).cast::<c_void>();
        let at = |address: Address| ptr::without_provenance_mut::<c_void>(address as usize);
        // SAFETY: all handles live; the addresses are of the device's memory and hold what the layouts say: the contract of
        // `Command::MatMul`. Nothing is read at d, because its factor is zero. The stream is the driver's, which cublasLt takes.
        let answer = unsafe {
            (lt.matmul)(
                self.handle.raw(),
                plan.descriptor.raw(),
                number(&one),
                at(places.x),
                plan.x.raw(),
                at(places.y),
                plan.y.raw(),
                number(&zero),
                at(places.d),
                plan.d.raw(),
                at(places.d),
                plan.d.raw(),
                &plan.algorithm,
                at(self.workspace),
                plan.workspace.min(WORKSPACE),
                stream.raw().cast(),
            )
        };
        lt.check(&described(product), answer)
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        let _ = self.context.bind();
        self.context.free(self.workspace);
    }
}

/// What a shape computes.
fn descriptor(lt: &CublasLt, shape: &Shape) -> Result<Owned> {
    use DescriptorSetting as Setting;
    let descriptor = lt.descriptor(match shape.math {
        // Full f32 for f32 factors, and f32 sums for bf16 ones; TF32 only where it is asked for.
        Math::Exact => Compute::CUBLAS_COMPUTE_32F,
        Math::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
    })?;
    // CUBLAS_OP_N and CUBLAS_OP_T.
    let turned = |columns: &Columns| c_int::from(columns.transposed);
    lt.set_descriptor(&descriptor, Setting::CUBLASLT_MATMUL_DESC_TRANSA, turned(&shape.x))?;
    lt.set_descriptor(&descriptor, Setting::CUBLASLT_MATMUL_DESC_TRANSB, turned(&shape.y))?;
    let epilogue = match shape.epilogue {
        Epilogue::None => return Ok(descriptor),
        Epilogue::Bias => LtEpilogue::CUBLASLT_EPILOGUE_BIAS,
        Epilogue::SumsOfY => LtEpilogue::CUBLASLT_EPILOGUE_BGRADB,
    };
    lt.set_descriptor(&descriptor, Setting::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue as c_int)?;
    let element = data_type(shape.d.element) as c_int;
    lt.set_descriptor(&descriptor, Setting::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, element)?;
    Ok(descriptor)
}

fn layout(lt: &CublasLt, columns: &Columns, batch: i32) -> Result<Owned> {
    let layout = lt.layout(data_type(columns.element), columns.rows, columns.columns, columns.leading)?;
    if batch > 1 {
        lt.set_layout(&layout, LayoutSetting::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, batch)?;
        let stride = columns.batch_stride;
        lt.set_layout(&layout, LayoutSetting::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride)?;
    }
    Ok(layout)
}

/// What an algorithm for a shape may use.
fn preference(lt: &CublasLt, shape: &Shape) -> Result<Owned> {
    use PreferenceSetting as Setting;
    let preference = lt.preference()?;
    lt.set_preference(&preference, Setting::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE as u64)?;
    // Where k is split, the parts are summed by a second kernel in f32. In place they would be summed in the result's type, as they
    // come.
    let schemes = Scheme::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
    lt.set_preference(&preference, Setting::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes)?;
    for (setting, columns) in [
        (Setting::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &shape.x),
        (Setting::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &shape.y),
        (Setting::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &shape.d),
        (Setting::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &shape.d),
    ] {
        lt.set_preference(&preference, setting, columns.aligned)?;
    }
    Ok(preference)
}

fn data_type(element: Element) -> DataType {
    match element {
        Element::Bf16 => DataType::CUDA_R_16BF,
        // `by_columns` lets no other through.
        _ => DataType::CUDA_R_32F,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cuda::library::find, device::Matrix};

    /// Descriptors need no card; what cublasLt does not know, or knows by another size, it refuses here.
    #[test]
    #[ignore = "needs cublasLt (no card): set FER_CUBLASLT to its file or folder, and run with --ignored"]
    fn cublas_takes_every_setting_of_a_plan() {
        let lt = find::<CublasLt>(None).expect("cublasLt").part;
        let matrix = |element, transposed| {
            let (place, offset, stride, batch_stride) = (1 << 12, 16, 64, 4096);
            Matrix { place, offset, element, transposed, stride, batch_stride }
        };
        for (math, element) in [(Math::Exact, Element::F32), (Math::Tf32, Element::F32), (Math::Exact, Element::Bf16)] {
            for (batch, bias, row_sums) in
                [(1, None, None), (1, Some(256), None), (1, None, Some(256)), (3, None, None)]
            {
                let product = MatMul {
                    m: 64,
                    n: 64,
                    k: 64,
                    batch,
                    a: matrix(element, true),
                    b: matrix(element, false),
                    c: matrix(Element::F32, false),
                    bias,
                    row_sums,
                    math,
                };
                let (shape, _) = by_columns(&product).expect("a product that can be");
                let made = descriptor(&lt, &shape).expect("is described");
                lt.set_descriptor(&made, DescriptorSetting::CUBLASLT_MATMUL_DESC_BIAS_POINTER, 256u64)
                    .expect("a pointer");
                preference(&lt, &shape).expect("is preferred");
                for columns in [&shape.x, &shape.y, &shape.d] {
                    layout(&lt, columns, shape.batch).expect("is laid out");
                }
            }
        }
        // A setting of another size is refused, so the sizes above are right.
        let (made, wrong) = (lt.descriptor(Compute::CUBLAS_COMPUTE_32F).expect("is described"), 0u8);
        let refused = lt.set_descriptor(&made, DescriptorSetting::CUBLASLT_MATMUL_DESC_EPILOGUE, wrong);
        assert!(matches!(refused, Err(DeviceError::Failed { .. })), "{refused:?}");
    }
}
