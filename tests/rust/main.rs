//! The engine's tests: one module per subject, rules and faults by name.

mod rig;

mod round_trip;
