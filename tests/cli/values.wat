;; Functions of many types, for --invoke.
(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "add64") (param i64 i64) (result i64) (i64.add (local.get 0) (local.get 1)))
  (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5)))
  (func (export "single") (param f32) (result f32) (local.get 0))
  (func (export "nothing"))
  (func (export "swap") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
  (func (export "same") (param externref) (result externref) (local.get 0))
  (func (export "itself") (result funcref) (ref.func 0))
  (global (export "number") i32 (i32.const 7)))
