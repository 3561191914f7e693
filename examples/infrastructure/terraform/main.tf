# A table for idempotency records, and a function that may use it and nothing else: `terraform apply`.
# Before, put the function and what it imports together:
# pip install -r ../src/requirements.txt --target ../build && cp ../src/*.py ../build

terraform {
  required_version = ">= 1.5"
  required_providers {
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.4"
    }
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}

resource "aws_dynamodb_table" "idempotency" {
  name         = "IdempotencyTable"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"

  attribute {
    name = "id"
    type = "S"
  }

  ttl {
    attribute_name = "expiration"
    enabled        = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

data "archive_file" "code" {
  type        = "zip"
  source_dir  = "${path.module}/../build"
  output_path = "${path.module}/billing.zip"
}

resource "aws_lambda_function" "billing" {
  function_name    = "billing"
  filename         = data.archive_file.code.output_path
  source_code_hash = data.archive_file.code.output_base64sha256
  handler          = "subscription.handler"
  runtime          = "python3.13"
  timeout          = 30
  role             = aws_iam_role.billing.arn

  environment {
    variables = {
      TABLE_NAME = aws_dynamodb_table.idempotency.name
    }
  }
}

data "aws_iam_policy_document" "lambda_may_assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "billing" {
  name               = "billing"
  assume_role_policy = data.aws_iam_policy_document.lambda_may_assume.json
}

resource "aws_iam_role_policy_attachment" "logs" {
  role       = aws_iam_role.billing.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

data "aws_iam_policy_document" "idempotency_records" {
  statement {
    actions = [
      "dynamodb:GetItem",
      "dynamodb:PutItem",
      "dynamodb:UpdateItem",
      "dynamodb:DeleteItem",
    ]
    resources = [aws_dynamodb_table.idempotency.arn]
  }
}

resource "aws_iam_role_policy" "idempotency_records" {
  name   = "idempotency-records"
  role   = aws_iam_role.billing.id
  policy = data.aws_iam_policy_document.idempotency_records.json
}
