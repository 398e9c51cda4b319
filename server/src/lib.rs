//! The task center.
