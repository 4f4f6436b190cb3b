//! A check finds small problems by itself: components that are made to claim nothing are examined all the same, and hold.

use std::cell::RefCell;

use fer_abi::Descriptor;
use fer_contract::{Case, Family, Subject, Thoroughness, Verdict, Watch, component, examine};

/// The same component, silent.
fn silent(subject: Subject) -> Subject {
    let descriptor = Descriptor { properties: vec![].into(), ..subject.descriptor().clone() };
    Subject::new(descriptor, move |request| subject.ask(request))
}

#[derive(Default)]
struct Odd(RefCell<Vec<String>>);

impl Watch for Odd {
    fn begins(&self, _: Family, _: &str) {}

    fn case(&self, _: &Case) {}

    fn ends(&self, _: Family, property: &str, verdict: &Verdict) {
        match verdict {
            Verdict::Held(_) | Verdict::Idle(_) => {}
            odd => self.0.borrow_mut().push(format!("{property}: {odd:?}")),
        }
    }
}

#[test]
fn components_that_claim_nothing_are_examined() {
    let components = [
        component!("backbone", "convit", "backbone-convit"),
        component!("backbone", "resnet", "backbone-resnet"),
        component!("backbone", "swin", "backbone-swin"),
        component!("backbone", "vgg16-bn", "backbone-vgg"),
        component!("backbone", "vit", "backbone-vit"),
        component!("backbone", "xcit", "backbone-xcit"),
        component!("loss", "f-pdls", "loss-f-pdls"),
    ];
    for component in components {
        let (subject, odd) = (silent(component), Odd::default());
        examine(&subject, &Thoroughness::quick(1111), &odd);
        assert_eq!(odd.0.into_inner(), Vec::<String>::new(), "{}", subject.id());
    }
}
