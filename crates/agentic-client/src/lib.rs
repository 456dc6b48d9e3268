//! HTTP client of agentic: the typed API, and the ports over HTTP
