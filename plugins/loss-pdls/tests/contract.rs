//! The contract of `pdls`.

use fer_contract::{Contract, Domain, component, contract};

fn pdls() -> Contract {
    let subject = component!("loss", "pdls");
    Contract { domain: Domain::of(&subject), subject, laws: vec![] }
}

contract!(pdls);
