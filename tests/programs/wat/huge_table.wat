;; A table of ten million elements from the start.
(component
  (core module $module
    (table 10000000 funcref)
    (func (export "elements") (result i32)
      table.size))
  (core instance $instance (instantiate $module))
  (func (export "elements") (result u32) (canon lift (core func $instance "elements"))))
