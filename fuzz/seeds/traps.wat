;; `run` traps three calls deep, one of them inlined.
(module $traps
  (memory 1)
  (func $leaf (param $at i32) (result i32)
    (i32.load offset=65536 (local.get $at)))
  (func $middle (param $at i32) (result i32) (local $sum i32)
    (block $out
      (loop $again
        (br_if $out (i32.gt_s (local.get $at) (i32.const 10)))
        (local.set $sum (i32.add (local.get $sum) (call $leaf (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $again)))
    (local.get $sum))
  (func (export "run") (param $at i32) (result i32)
    (i32.mul (call $middle (local.get $at)) (i32.const 3))))
