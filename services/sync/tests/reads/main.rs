//! What clients read, on stores filled by hand.

mod access;
mod incremental;
mod membership;
mod receipts;
mod replay;
mod state;
mod typing;
mod world;
