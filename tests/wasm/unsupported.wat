;; A proposal that is not compiled yet is named, with the place.
(module
  (func $plain (param i32) (result i32) (i32.clz (local.get 0)))
  (func $vector (param i32) (result i32) (i32x4.extract_lane 0 (i32x4.splat (local.get 0)))))
