//! What is changed or refused between decoding a request and storing it, in upstream's order.
