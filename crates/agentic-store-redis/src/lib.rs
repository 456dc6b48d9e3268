//! Every port of agentic on Redis
