//! The typed graph: op set, shape rules, derivatives, text, verification
