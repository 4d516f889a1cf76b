//! Whole boxes, driven through their public API. The tests are one binary under `tests/nation`, a file per feature.
