//! An experiment as RON: schema, spans, extends, overrides, provenance
