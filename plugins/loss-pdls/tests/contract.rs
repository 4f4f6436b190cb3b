//! The contract of `pdls`.

use fer_contract::{Contract, Domain, component, contract, losses};

fn pdls() -> Contract {
    let subject = component!("loss", "pdls");
    Contract { domain: Domain::of(&subject), subject, laws: losses::LAWS.to_vec() }
}

contract!(pdls);
