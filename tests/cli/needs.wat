;; Imports that nobody gives.
(module
  (import "env" "first" (func (param i32) (result i64)))
  (import "env" "memory" (memory 1 2))
  (import "env" "table" (table 3 funcref))
  (import "env" "number" (global (mut i64)))
  (func (export "_start")))
