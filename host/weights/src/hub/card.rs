//! What a repository's config.json says of the model, as timm writes it.

use serde::Serialize;
use serde_json::Value;

/// How the weights' model was made and what it was trained on. Everything that the file leaves out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelCard {
    /// timm's name of the model, such as `vit_tiny_patch16_224`.
    pub architecture: Option<String>,
    /// What was subtracted from each channel of images in `0..=1`.
    pub mean: Option<Vec<f64>>,
    /// What each channel was divided by then.
    pub std: Option<Vec<f64>>,
    /// Channels, height, width.
    pub input_size: Option<[usize; 3]>,
    /// How images were resized, such as `bicubic`.
    pub interpolation: Option<String>,
    /// Classes of the weights' head.
    pub num_classes: Option<usize>,
}

impl ModelCard {
    /// The card of a config.json: timm's `pretrained_cfg`, or the same keys outside it as older files have them. `None`
    /// where it is no JSON object.
    pub fn parse(json: &[u8]) -> Option<ModelCard> {
        let config: Value = serde_json::from_slice(json).ok()?;
        let config = config.as_object()?;
        let inner = config.get("pretrained_cfg").and_then(Value::as_object);
        let get = |key: &str| inner.and_then(|c| c.get(key)).or_else(|| config.get(key));
        let text = |key: &str| get(key).and_then(Value::as_str).map(str::to_owned);
        let numbers = |key: &str| get(key)?.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>();
        let count = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        let input_size = get("input_size")
            .and_then(Value::as_array)
            .and_then(|sizes| sizes.iter().map(count).collect::<Option<Vec<usize>>>())
            .and_then(|sizes| sizes.try_into().ok());
        Some(ModelCard {
            architecture: text("architecture"),
            mean: numbers("mean"),
            std: numbers("std"),
            input_size,
            interpolation: text("interpolation"),
            num_classes: get("num_classes").and_then(count),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_places_of_the_keys_are_read() {
        let new = br#"{"architecture": "vit_tiny_patch16_224", "num_classes": 1000, "pretrained_cfg":
            {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "input_size": [3, 224, 224], "interpolation": "bicubic"}}"#;
        let card = ModelCard::parse(new).unwrap();
        assert_eq!(card.architecture.as_deref(), Some("vit_tiny_patch16_224"));
        assert_eq!((card.mean, card.std), (Some(vec![0.5; 3]), Some(vec![0.25; 3])));
        assert_eq!((card.input_size, card.num_classes), (Some([3, 224, 224]), Some(1000)));
        assert_eq!(card.interpolation.as_deref(), Some("bicubic"));
        let old = ModelCard::parse(br#"{"mean": [0.1], "input_size": [1, 2], "num_classes": -1}"#).unwrap();
        assert_eq!(old, ModelCard { mean: Some(vec![0.1]), ..ModelCard::default() });
    }

    #[test]
    fn other_files_have_no_card() {
        assert_eq!(ModelCard::parse(b"[1]"), None);
        assert_eq!(ModelCard::parse(b"<html>"), None);
        assert_eq!(ModelCard::parse(b"{}"), Some(ModelCard::default()));
    }
}
