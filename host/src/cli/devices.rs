//! `fer-host devices`: what can compute on this machine, and if cuda cannot, why.

use fer_engine::Engine;
use fer_engine_cpu::CpuEngine;
use fer_engine_cuda::cuda::{Card, Companion, Driver, NoCuda, Survey, Version, survey};
use serde_json::{Value, json};

use super::output::{binary, print, print_json};
use crate::failure::Result;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// One JSON value instead of words
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let processor = Processor::here();
    let survey = survey();
    if arguments.json { print_json(&as_json(&processor, &survey)) } else { print(&as_text(&processor, &survey)) }
}

struct Processor {
    threads: usize,
    instructions: String,
}

impl Processor {
    fn here() -> Processor {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Processor { threads, instructions: CpuEngine::new(Default::default()).device() }
    }
}

fn as_text(processor: &Processor, survey: &Survey) -> String {
    let threads = if processor.threads == 1 { "thread" } else { "threads" };
    let mut lines = vec![line("cpu", &format!("{} {threads}, {}", processor.threads, processor.instructions))];
    for card in survey.cards.iter().flatten() {
        lines.push(line(&format!("cuda:{}", card.index), &described(card)));
        if let Some(problem) = &card.problem {
            lines.extend(reasons(problem));
        }
    }
    let driver = |driver: &Driver| {
        let release = driver.release.as_ref().map_or_else(String::new, |release| format!(" ({release})"));
        format!("for CUDA {}{release}", dotted(driver.cuda))
    };
    let companion = |found: &Companion| format!("{}   {}", dotted(found.version), found.path.display());
    let unusable = survey.usable().err();
    let parts = [
        ("driver", survey.driver.as_ref().map(driver)),
        ("NVRTC", survey.nvrtc.as_ref().map(companion)),
        ("cublasLt", survey.cublas_lt.as_ref().map(companion)),
    ];
    for (name, part) in parts {
        match part {
            Ok(text) => lines.push(line(name, &text)),
            Err(why) => {
                lines.push(line(name, &why.message));
                lines.extend(reasons(why));
            }
        }
    }
    if let Err(why) = &survey.cards {
        lines.push(line("cards", &why.message));
        lines.extend(reasons(why));
    }
    lines.push(String::new());
    lines.push(match &unusable {
        Some(why) => format!("cuda is not usable: {}; --engine auto takes cpu", why.message),
        None => "cuda is usable; --engine auto takes it".to_owned(),
    });
    lines.join("\n")
}

fn line(name: &str, text: &str) -> String {
    format!("{name:<10} {text}")
}

fn reasons(why: &NoCuda) -> Vec<String> {
    let notes = why.notes.iter().map(String::as_str);
    notes.map(|note| line("", note)).chain([line("", &format!("help: {}", why.help))]).collect()
}

fn described(card: &Card) -> String {
    let Card { name, capability, memory, multiprocessors, problem, .. } = card;
    let text =
        format!("{name}   capability {}   {}   {multiprocessors} SMs", dotted(*capability), binary(*memory as f64));
    match problem {
        Some(problem) => format!("{text}   not usable: {}", problem.message),
        None => text,
    }
}

fn dotted((major, minor): Version) -> String {
    format!("{major}.{minor}")
}

fn as_json(processor: &Processor, survey: &Survey) -> Value {
    let why = |why: &NoCuda| json!({ "problem": why.message, "notes": why.notes, "help": why.help });
    let companion = |part: &Result<Companion, NoCuda>| match part {
        Ok(found) => json!({ "version": dotted(found.version), "path": found.path.display().to_string() }),
        Err(error) => why(error),
    };
    let card = |card: &Card| {
        json!({
            "index": card.index,
            "name": card.name,
            "capability": dotted(card.capability),
            "memory_bytes": card.memory,
            "multiprocessors": card.multiprocessors,
            "problem": card.problem.as_ref().map(why),
        })
    };
    json!({
        "cpu": { "threads": processor.threads, "instructions": processor.instructions },
        "cuda": {
            "usable": survey.usable().is_ok(),
            "problem": survey.usable().err().as_ref().map(why),
            "driver": match &survey.driver {
                Ok(driver) => json!({ "cuda": dotted(driver.cuda), "release": driver.release }),
                Err(error) => why(error),
            },
            "nvrtc": companion(&survey.nvrtc),
            "cublas_lt": companion(&survey.cublas_lt),
            "cards": survey.cards.iter().flatten().map(card).collect::<Vec<_>>(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey_of(cards: Vec<Card>) -> Survey {
        Survey {
            driver: Ok(Driver { cuda: (13, 0), release: Some("580.65.06".to_owned()) }),
            nvrtc: Ok(Companion { version: (13, 0), path: "lib/libnvrtc.so.13".into() }),
            cublas_lt: Ok(Companion { version: (13, 1), path: "lib/libcublasLt.so.13".into() }),
            cards: Ok(cards),
        }
    }

    fn card(index: usize, problem: Option<NoCuda>) -> Card {
        let (capability, memory) = ((9, 0), 80 << 30);
        Card { index, name: "Some Card".to_owned(), capability, memory, multiprocessors: 132, problem }
    }

    fn lack(message: &str) -> NoCuda {
        NoCuda { message: message.to_owned(), notes: vec!["looked for it".to_owned()], help: "get it".to_owned() }
    }

    fn processor() -> Processor {
        Processor { threads: 2, instructions: "AVX2".to_owned() }
    }

    #[test]
    fn a_machine_with_cards_lists_them_and_what_they_need() {
        let survey = survey_of(vec![card(0, None), card(1, Some(lack("too old")))]);
        insta::assert_snapshot!(as_text(&processor(), &survey), @r"
        cpu        2 threads, AVX2
        cuda:0     Some Card   capability 9.0   80.0 GiB   132 SMs
        cuda:1     Some Card   capability 9.0   80.0 GiB   132 SMs   not usable: too old
                   looked for it
                   help: get it
        driver     for CUDA 13.0 (580.65.06)
        NVRTC      13.0   lib/libnvrtc.so.13
        cublasLt   13.1   lib/libcublasLt.so.13

        cuda is usable; --engine auto takes it
        ");
    }

    #[test]
    fn what_is_missing_is_told_with_what_to_do() {
        let mut survey = survey_of(vec![]);
        survey.driver = Err(lack("no driver"));
        survey.nvrtc = Err(lack("no NVRTC"));
        insta::assert_snapshot!(as_text(&processor(), &survey), @r"
        cpu        2 threads, AVX2
        driver     no driver
                   looked for it
                   help: get it
        NVRTC      no NVRTC
                   looked for it
                   help: get it
        cublasLt   13.1   lib/libcublasLt.so.13

        cuda is not usable: no driver; --engine auto takes cpu
        ");
        let shown = as_json(&processor(), &survey);
        assert_eq!(shown["cuda"]["usable"], false);
        assert_eq!(shown["cuda"]["problem"]["help"], "get it");
        assert_eq!(shown["cuda"]["cublas_lt"]["version"], "13.1");
    }
}
