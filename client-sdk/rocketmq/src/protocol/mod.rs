//! The remoting protocol: frames, codes, and the formats of bodies.

mod binary_header;
pub mod codes;
pub mod command;
pub mod compression;
pub mod frame;
pub mod json;
mod json_header;
pub mod message;
pub mod properties;
pub mod route;
pub mod subscription;
