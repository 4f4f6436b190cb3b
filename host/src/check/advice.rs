//! What an author does about a property that does not hold.

/// A sentence or two, by the name of the property.
pub(super) fn advice(property: &str) -> &'static str {
    match property {
        "building is total" => {
            "answer every request with a graph or with Error::option(NAME, what was found).help(what to give); bound what an \
             option may allocate"
        }
        "the same request gives the same answer" => {
            "build from the request alone: no counter, clock, random number or iteration over a hash map"
        }
        "what the schema forbids is refused" => "check values against the schema, as #[derive(Options)] does",
        "malformed inputs do no harm" => "take shapes from g.dims::<4>(images)? and index nothing that was not checked",
        "options keep their meaning" => "read options by name, and give a left-out one the default of the schema",
        "defaults build, or the user is told what to give" => {
            "make the defaults fit common sizes, or refuse with Error::option(NAME, ...).help(what to give)"
        }
        "a graph survives text and the plugin boundary" => "use names that are words, and finite attributes",
        "its claims can be read" => "correct the claim: docs/plugin-check.md lists their words",
        "kernels compute what their ops mean" => {
            "correct the kernel, or the op's body: the body is what is differentiated and what every other engine computes"
        }
        "the signature is that of its kind" => {
            "declare the offered inputs alone, give the output of the kind, update no state in evaluation"
        }
        "inferred shapes are executed shapes, of finite numbers" => {
            "guard logarithms, roots and divisions: add an epsilon or clamp before them"
        }
        "the same seed gives the same bits" => "draw random numbers with the builder's ops alone",
        "f32 agrees with f64" => {
            "avoid differences of large numbers; use the builder's stable ops (log_softmax, layer_norm)"
        }
        "modes and batch sizes share their parameters" => "declare the same parameters whatever the mode and the batch",
        "gradients are those of differences" => {
            "look for a stop_gradient, a step (floor, compare) or a power at zero; an input that is held constant on purpose must \
             not depend on what is trained"
        }
        "every parameter is trained or frozen" => "use the parameter, leave it out, or declare it frozen",
        "a batch gives what its samples give alone" | "permuting the batch permutes the result" => {
            "in evaluation compute nothing over axis 0: running statistics instead of the batch's"
        }
        "value and gradient are finite for logits within 1e4" => {
            "start from log_softmax, and raise nothing that may be zero to a power below 1"
        }
        "the loss is linear in the sample weights" => "end with g.weighted_mean(per_sample, batch.weights), once",
        "the loss is not negative"
        | "the loss sees logits through softmax alone"
        | "no class is special"
        | "the loss is least at the truth" => "correct the loss, or drop the claim from LAWS",
        "a constant image stays constant"
        | "starts as the identity"
        | "starts as bilinear interpolation"
        | "gives the size it promises"
        | "takes what it claims to take" => "correct the component, or the claim in LAWS",
        "convolutions start as PyTorch's" | "parameters start with the deviation it claims" => {
            "give the parameter the claimed initialisation, or correct the claim in LAWS"
        }
        _ => "see docs/plugin-check.md",
    }
}

#[cfg(test)]
mod tests {
    use fer_contract::{Family, laws, losses, resizers};

    use super::advice;

    #[test]
    fn every_property_has_advice_of_its_own() {
        let kinds = ["loss", "resizer", "backbone"];
        let mut all: Vec<&str> =
            kinds.iter().flat_map(|kind| Family::ALL.map(|f| f.properties(kind))).flatten().map(|p| p.name).collect();
        all.extend([losses::NON_NEGATIVE, losses::SHIFT_INVARIANT, losses::CLASS_SYMMETRIC].map(|p| p.name));
        all.extend([losses::LEAST_AT_TRUTH, laws::OUTPUT_SIZE, laws::TAKES, laws::INITIAL_DEVIATION].map(|p| p.name));
        all.extend([resizers::KEEPS_CONSTANTS, resizers::STARTS_AS_IDENTITY].map(|p| p.name));
        all.extend([resizers::STARTS_AS_BILINEAR, resizers::CONVOLUTIONS_START_AS_TORCH_S].map(|p| p.name));
        let without: Vec<&str> = all.into_iter().filter(|name| advice(name).starts_with("see ")).collect();
        assert_eq!(without, Vec::<&str>::new());
    }
}
