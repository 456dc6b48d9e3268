//! HTTP server of agentic: thin handlers over the services
