//! Reading and writing graphs: text, plugin boundary, and the constraints that both rely on.

mod constraints;
mod definitions;
mod generate;
mod hostile;
mod mutate;
mod reference;
mod roundtrip;
mod text;
