//! Policy of agentic: router, services, dispatcher, reaper, emitters
