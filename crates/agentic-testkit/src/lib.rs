//! The conformance suite, the random-operation model, fault injection and fake agents of agentic
