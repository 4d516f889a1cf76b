/// The commented sample, as the box prints it with `check-config --sample`.
pub const SAMPLE: &str = include_str!("../../site.sample.toml");
