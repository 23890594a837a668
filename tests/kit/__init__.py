"""What tests build with: messages, payments, a fixed time, and `twice` around the funnel."""
