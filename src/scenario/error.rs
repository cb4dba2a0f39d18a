//! What can be wrong with a scenario.

use std::fmt;

/// Why a scenario cannot be: names the field, as in
/// `operations[3].budget: -1 is not possible: choose 1 to 65535`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// Empty for the scenario as a whole.
    field: String,
    what: String,
}

impl ScenarioError {
    pub(super) fn new(what: impl fmt::Display) -> Self {
        Self { field: String::new(), what: what.to_string() }
    }

    /// The field that is wrong, from the outermost object on; empty for the scenario as a whole.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The same error, seen from the object that has the field `name`.
    pub(super) fn of(mut self, name: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{name}{dot}{}", self.field);
        self
    }

    /// The same error, seen from the list whose `i`-th item is wrong.
    pub(super) fn item(self, i: usize) -> Self {
        self.of(&format!("[{i}]"))
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "the scenario {}", self.what),
            field => write!(f, "{field}: {}", self.what),
        }
    }
}

impl std::error::Error for ScenarioError {}
