{{- define "tamis.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* A LeaderWorkerSet names a Service and, with two numbers appended, its pods: short, and DNS-1035. */}}
{{- define "tamis.fullname" -}}
{{- $name := include "tamis.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "tamis.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tamis.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tamis.labels" -}}
{{ include "tamis.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The pods that answer requests: of each replica the one with rank 0. */}}
{{- define "tamis.leaderLabels" -}}
{{ include "tamis.selectorLabels" . }}
app.kubernetes.io/component: leader
{{- end }}

{{- define "tamis.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "%s-%s" .Chart.AppVersion .Values.device) }}
{{- end -}}
{{- end }}

{{- define "tamis.claimName" -}}
{{- .Values.model.pvc.existingClaim | default (printf "%s-model" (include "tamis.fullname" .)) -}}
{{- end }}

{{/* The directory or file that --model names. */}}
{{- define "tamis.modelPath" -}}
{{- if eq .Values.model.source "none" -}}
{{- .Values.model.path -}}
{{- else if eq .Values.model.source "hf" -}}
{{- printf "/models/%s" (.Values.model.path | default (.Values.model.name | replace "/" "--")) -}}
{{- else -}}
{{- printf "/models/%s" .Values.model.path | trimSuffix "/" -}}
{{- end -}}
{{- end }}

{{- define "tamis.servedName" -}}
{{- .Values.model.servedName | default (.Values.model.name | default (include "tamis.modelPath" . | base)) -}}
{{- end }}
