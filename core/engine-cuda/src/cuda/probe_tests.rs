use super::*;

fn card(index: usize, problem: Option<NoCuda>) -> Card {
    let name = format!("Card {index}");
    Card { index, name, capability: (9, 0), memory: 1 << 30, multiprocessors: 100, problem }
}

fn lack(message: &str) -> NoCuda {
    NoCuda { message: message.to_owned(), notes: vec![], help: String::new() }
}

fn found() -> Companion {
    Companion { version: (13, 0), path: "lib".into() }
}

fn survey_of(cards: Vec<Card>) -> Survey {
    let driver = Ok(Driver { cuda: (13, 0), release: None });
    Survey { driver, nvrtc: Ok(found()), cublas_lt: Ok(found()), cards: Ok(cards) }
}

/// Whatever a machine has, asking is safe, and an answer without cards says why.
#[test]
fn a_probe_answers_on_any_machine() {
    match probe() {
        Ok(cards) => assert!(!cards.is_empty()),
        Err(why) => assert!(!why.message.is_empty() && !why.help.is_empty(), "{why:?}"),
    }
}

#[test]
fn drivers_are_old_enough_or_told() {
    assert_eq!(checked_driver(Some((12, 0)), &[]), Ok(()));
    assert_eq!(checked_driver(Some((13, 4)), &[]), Ok(()));
    let said = |cuda, missing: &[&str]| checked_driver(cuda, missing).expect_err("must be refused");
    assert_eq!(said(Some((11, 8)), &[]).message, "NVIDIA's driver is for CUDA 11.8; CUDA 12.0 or later is needed");
    assert_eq!(said(None, &[]).message, "NVIDIA's driver does not tell its version; CUDA 12.0 or later is needed");
    assert_eq!(said(Some((12, 0)), &["cuGraphUpload"]).notes, ["it has no cuGraphUpload"]);
}

#[test]
fn a_driver_that_does_not_start_is_told_by_its_cause() {
    assert!(not_started(34, "stub").message.contains("a stub to link with"));
    assert!(not_started(100, "no device").message.contains("finds no card"));
    assert!(not_started(803, "mismatch").help.contains("restart the machine"));
    assert_eq!(not_started(999, "unknown error").message, "NVIDIA's driver does not start: unknown error");
}

#[test]
fn a_missing_part_says_where_it_was_looked_for_and_what_to_install() {
    let missing = Missing { unusable: vec![], looked: vec!["/a".into(), "/b".into()] };
    let said = not_found(Part::Nvrtc, missing.clone(), Some((13, 0)));
    assert_eq!(said.message, "NVRTC is not on this machine");
    assert!(said.notes[0].ends_with(" where the system has its libraries, and in"), "{said:?}");
    assert_eq!(said.notes[1..], ["  /a", "  /b"]);
    assert!(said.help.starts_with("pip install nvidia-cuda-nvrtc nvidia-cublas into the environment"), "{said:?}");
    assert!(said.help.contains("FER_NVRTC names the file"), "{said:?}");
    let said = not_found(Part::CublasLt, missing, Some((12, 4)));
    assert!(said.help.starts_with("pip install nvidia-cuda-nvrtc-cu12 nvidia-cublas-cu12 "), "{said:?}");
}

#[test]
fn a_part_that_cannot_be_used_is_told_with_its_reason() {
    let unusable = vec!["/a/libnvrtc.so.13 is of CUDA 13.0, and the driver is for CUDA 12.4 at most".to_owned()];
    let said = not_found(Part::Nvrtc, Missing { unusable: unusable.clone(), looked: vec![] }, Some((12, 4)));
    assert_eq!((said.message.as_str(), said.notes), ("no NVRTC on this machine can be used", unusable));
}

#[test]
fn cards_are_usable_or_told_why_not() {
    let knows = Some(((13, 0), true));
    assert_eq!(problem("H", (9, 0), false, knows), None);
    assert_eq!(problem("A", (8, 0), false, None), None);
    let said =
        |capability, prohibited, compiler| problem("X", capability, prohibited, compiler).expect("a problem").message;
    assert_eq!(said((7, 5), false, knows), "X has compute capability 7.5; 8.0 or later is needed");
    assert_eq!(said((9, 0), true, knows), "X is set to take no work");
    assert_eq!(
        said((12, 0), false, Some(((12, 4), false))),
        "NVRTC 12.4 does not know X, which has compute capability 12.0"
    );
}

#[test]
fn what_is_told_first_is_what_is_installed_first() {
    let mut survey = survey_of(vec![card(0, None)]);
    survey.cublas_lt = Err(lack("cublasLt"));
    assert_eq!(survey.usable(), Err(lack("cublasLt")));
    survey.nvrtc = Err(lack("NVRTC"));
    assert_eq!(survey.usable(), Err(lack("NVRTC")));
    survey.cards = Err(lack("cards"));
    assert_eq!(survey.usable(), Err(lack("cards")));
    survey.driver = Err(lack("driver"));
    assert_eq!(survey.usable(), Err(lack("driver")));
}

#[test]
fn a_card_is_taken_by_its_number() {
    let survey = survey_of(vec![card(0, Some(lack("too old"))), card(1, None)]);
    assert_eq!(survey.usable().map(|cards| cards.len()), Ok(1));
    assert_eq!(survey.card(1).map(|card| card.name), Ok("Card 1".to_owned()));
    assert_eq!(survey.card(0), Err(lack("too old")));
    let absent = survey.card(2).expect_err("is not there");
    assert_eq!(absent.message, "there is no card 2");
    assert_eq!(absent.help, "cards are counted from 0; usable here: cuda:1");
    assert_eq!(survey_of(vec![card(0, Some(lack("too old")))]).usable(), Err(lack("too old")));
}
