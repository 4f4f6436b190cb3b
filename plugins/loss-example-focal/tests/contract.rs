//! The contract of `example-focal`.

use fer_contract::{Contract, Domain, component, contract, losses};

fn focal() -> Contract {
    let subject = component!("loss", "example-focal");
    Contract { domain: Domain::of(&subject), subject, laws: losses::LAWS.to_vec() }
}

contract!(focal);
