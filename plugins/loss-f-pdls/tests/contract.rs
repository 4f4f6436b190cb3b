//! The contract of `f-pdls`.

use fer_contract::{Contract, Domain, component, contract};

fn f_pdls() -> Contract {
    let subject = component!("loss", "f-pdls");
    Contract { domain: Domain::of(&subject), subject, laws: vec![] }
}

contract!(f_pdls);
