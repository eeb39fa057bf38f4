//! Every metric: name, help and labels side by side.

#[derive(Debug)]
pub struct Metrics {}
