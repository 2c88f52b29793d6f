//! Which entry goes when room is needed: slot rings, and a hand over them (`engine::hand`).

pub(crate) mod ring;
