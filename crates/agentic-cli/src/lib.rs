//! The binary agentic, and the back-end factories
