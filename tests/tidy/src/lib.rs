//! A style rule without a test is a wish. These are the rules of `CONTRIBUTING.md` and of the architecture that a
//! machine can check: which crate may import which, how long a file may be, and what must not stand in the tree.

#[cfg(test)]
mod layers;
#[cfg(test)]
mod sources;
