//! The contract of `example-brier`, its kernels' included.

use fer_contract::{Contract, Domain, component, contract, kernels::assert_kernels};

fn brier() -> Contract {
    let subject = component!("loss", "example-brier");
    Contract { domain: Domain::of(&subject), subject, laws: vec![] }
}

contract!(brier);

#[test]
fn kernels() {
    assert_kernels(&brier());
}
