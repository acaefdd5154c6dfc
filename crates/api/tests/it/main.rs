//! Tests of the api from outside, one module per endpoint.

mod pages;
