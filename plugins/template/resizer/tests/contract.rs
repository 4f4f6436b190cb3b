//! Holds `plugin-name` to everything that is asked of a resizer, and to what it claims of itself.

use fer_contract::{Contract, Domain, component, contract};

fn plugin_name() -> Contract {
    let subject = component!("resizer", "plugin-name");
    // Options are drawn from the schema. Where they must fit the inputs or each other, write the domain yourself.
    Contract {
        domain: Domain::of(&subject),
        subject,
        laws: vec![],
    }
}

contract!(plugin_name);
