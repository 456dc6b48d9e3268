//! Every statement has its index: what SQLite itself says of its plans.
