//! Every port of agentic on one SQLite file
