//! What a plugin author writes with
