//! What a test may ask of the driver, by the environment: `FER_EMULATED_DRIVER="seed=3,lost_after=5"`.

/// The environment variable.
const VARIABLE: &str = "FER_EMULATED_DRIVER";

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Decides the order of everything that is left open.
    pub(crate) seed: u64,
    /// The version of CUDA that the driver says it is for, as it says it.
    pub(crate) version: i32,
    pub(crate) cards: i32,
    /// Bytes of memory of a card.
    pub(crate) memory: usize,
    /// After so many steps the card is lost.
    pub(crate) lost_after: Option<u64>,
    /// Whether the host has memory to pin.
    pub(crate) pinned: bool,
}

impl Settings {
    /// # Panics
    /// For a setting that is none: a test is wrong.
    pub(crate) fn read() -> Settings {
        let mut settings =
            Settings { seed: 1, version: 13000, cards: 1, memory: 8 << 30, lost_after: None, pinned: true };
        let text = std::env::var(VARIABLE).unwrap_or_default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, number) = part.split_once('=').unwrap_or((part, ""));
            let number: u64 = number.parse().unwrap_or_else(|_| panic!("{VARIABLE}: {part:?} is not name=number"));
            match name {
                "seed" => settings.seed = number,
                "version" => settings.version = number as i32,
                "cards" => settings.cards = number as i32,
                "memory" => settings.memory = number as usize,
                "lost_after" => settings.lost_after = Some(number),
                "pinned" => settings.pinned = number != 0,
                _ => panic!("{VARIABLE}: nothing is called {name:?}"),
            }
        }
        settings
    }
}
