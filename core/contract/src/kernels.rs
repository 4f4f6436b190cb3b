//! Kernels of ops of the library's own: each is held to what its op means, as the reference engine computes it in f64, in the
//! forward graph and in the differentiated one.

use fer_engine::{
    Precision,
    kernel::{Kernels, compare},
};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Graph, Role};

use crate::{Case, Contract, Model, Outcome, Property, Subject, Trouble};

pub const PROPERTIES: &[Property<'static>] =
    &[Property { name: "kernels compute what their ops mean", cases: 6, wide: false, check: &as_meant }];

/// Compares the kernels of every node of a graph that has one with the node's meaning. Gives how many were compared.
///
/// # Errors
/// [`Trouble::Broken`] with the library, the op and what is wrong first.
pub fn check(kernels: &Kernels, graph: &Graph) -> Outcome<usize> {
    // What stands within ops that have no kernel is seen too.
    let graph = fer_plan::inline(graph, |graph, node| kernels.of(graph, node).is_some())?;
    let reference = DfdxEngine::new(Precision::F64);
    let mut compared = vec![];
    for node in &graph.nodes {
        let Some(kernel) = kernels.of(&graph, node) else { continue };
        if !compared.contains(&(node.op, &node.attributes)) {
            compare(kernel, &graph, node, &reference).map_err(|fault| Trouble::Broken(fault.to_string()))?;
            compared.push((node.op, &node.attributes));
        }
    }
    Ok(compared.len())
}

/// Fails the test that calls it when a kernel of the component's library is not what its op means, or none was seen.
///
/// # Panics
/// With the failure and its reproduction.
pub fn assert_kernels(contract: &Contract) {
    let report = crate::check(&contract.subject, &contract.domain, PROPERTIES);
    let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let none = [report.unexamined, report.idle].concat();
    assert!(none.is_empty(), "no kernel was compared: {none:?}");
}

fn as_meant(subject: &Subject, case: &Case) -> Outcome {
    let model = Model::initial(subject, case)?;
    let floats =
        model.graph.arguments.iter().filter(|a| a.role != Role::State && model.graph.ty(a.value).dtype.is_float());
    let wrt: Vec<String> = floats.map(|a| a.name.clone()).collect();
    let wrt: Vec<&str> = wrt.iter().map(String::as_str).collect();
    let joint = model.differentiated(&wrt, case.seed)?;
    match check(subject.kernels(), &joint.graph)? {
        0 => Err(Trouble::Idle("no node of the graph has a kernel of the library".into())),
        _ => Ok(()),
    }
}
