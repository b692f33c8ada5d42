//! Behaviour of whole requests on an open database.
