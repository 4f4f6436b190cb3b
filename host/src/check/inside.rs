//! The child: looks at one component in this process, and says every step on standard output.

use std::{
    cell::RefCell,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use fer_contract::{Case, Failure as Broken, Family, Reproduction, Verdict, Watch, examine};
use fer_registry::{Probe, Registry, SearchPath};

use super::{
    Request,
    finding::{Failed, Finding, MARK, Message, Outcome},
    subject,
};
use crate::failure::{Failure, Result};

/// Checks the component of a kind and id in a library.
///
/// # Errors
/// A library that is no longer what the parent saw.
pub fn inside(library: &Path, kind: &str, id: &str, request: &Request) -> Result<()> {
    end_with_the_parent();
    let registry = Registry::scan(&SearchPath::of([library]), &Probe::Off);
    let component = registry.get(kind, id).map_err(|e| Failure::new(e.to_string()).help(e.help))?;
    let (kernels, fault) = match component.kernels() {
        Ok(kernels) => (kernels, None),
        Err(fault) => (vec![], Some(fault.reason)),
    };
    let said = Said {
        library: library.to_owned(),
        kind: kind.to_owned(),
        id: id.to_owned(),
        property: RefCell::default(),
        fault,
    };
    let subject = subject(component).with_kernels(&library.display().to_string(), &kernels);
    examine(&subject, &request.how(), &said);
    say(&Message::Done);
    Ok(())
}

/// The parent holds the other end of standard input and writes nothing: its end is the parent's.
fn end_with_the_parent() {
    std::thread::spawn(|| {
        // An error is an end too.
        let _ = std::io::stdin().read(&mut [0]);
        // Not `exit`, which waits for whatever hangs.
        std::process::abort();
    });
}

struct Said {
    library: PathBuf,
    kind: String,
    id: String,
    property: RefCell<String>,
    /// Why the library's kernels cannot be had.
    fault: Option<String>,
}

impl Said {
    fn reproduction(&self, broken: &Broken) -> String {
        Reproduction::of(broken, &self.kind, &self.id, Some(self.library.clone())).to_string()
    }
}

impl Watch for Said {
    fn begins(&self, family: Family, property: &str) {
        self.property.replace(property.to_owned());
        say(&Message::Begins { family: family.name().into(), property: property.into() });
    }

    fn case(&self, case: &Case) {
        let property = self.property.borrow().clone();
        let broken = Broken { property, component: String::new(), message: String::new(), case: case.clone() };
        say(&Message::Case { case: case.to_string(), reproduction: self.reproduction(&broken) });
    }

    fn ends(&self, family: Family, property: &str, verdict: &Verdict) {
        let outcome = match verdict {
            _ if family == Family::Kernels && self.fault.is_some() => Outcome::Failed(Box::new(Failed {
                message: self.fault.clone().unwrap_or_default(),
                case: String::new(),
                reproduction: String::new(),
                shrunk: true,
            })),
            Verdict::Held(cases) => Outcome::Ok { cases: *cases },
            Verdict::Broken(broken) => Outcome::Failed(Box::new(Failed {
                message: broken.message.clone(),
                case: broken.case.to_string(),
                reproduction: self.reproduction(broken),
                shrunk: true,
            })),
            Verdict::Refused(said) => Outcome::NotExamined {
                why: format!("every case was refused, the last time with: {said}"),
                nothing_to_look_at: false,
            },
            Verdict::Idle(why) => Outcome::NotExamined { why: why.clone(), nothing_to_look_at: true },
        };
        say(&Message::Ends(Finding { family: family.name().into(), property: property.into(), outcome }));
    }
}

fn say(message: &Message) {
    let Ok(text) = serde_json::to_string(message) else { return };
    // A parent that went away reads nothing, and then nothing is left to say.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\n{MARK}{text}");
    let _ = out.flush();
}
