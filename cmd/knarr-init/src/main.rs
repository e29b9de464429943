//! A static program: pause process of a pod, demo web server.
fn main() {}
