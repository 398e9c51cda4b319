//! Client SDK of the task center.
